"""A generated piece of neuropil: the sample, and what the learned priors were taught on."""
