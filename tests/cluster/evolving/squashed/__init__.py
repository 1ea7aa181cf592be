"""A release in which one migration stands for all those of before."""
