"""Classifiers: trained by the build on texts of two sides, to score documents by the side that they resemble."""
