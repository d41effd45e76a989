"""Rivals of the models that denoise; see ../denoising.py."""
