"""Priors that learn nothing: pixel by pixel, and along optical flow."""
