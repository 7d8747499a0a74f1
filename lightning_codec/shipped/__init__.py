"""Trained models that come with the package: their cards, their weights, choosing, exporting and verifying them."""
