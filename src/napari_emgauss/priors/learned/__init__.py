"""Priors that are taught: the network, what it learns from, and what fuses its planes."""
