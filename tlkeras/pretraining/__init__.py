"""Objectives for networks that are trained from scratch."""
