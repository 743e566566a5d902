"""Pretrained feature extractors: rows of plain data, and what builds them."""
