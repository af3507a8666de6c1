"""Pieces of Qt that know nothing of a fit and can be used anywhere."""
