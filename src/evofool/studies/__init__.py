"""Whole experiments: scenarios x seeds x classifiers, and the numbers they leave behind."""
