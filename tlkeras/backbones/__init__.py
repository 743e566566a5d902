"""Pretrained feature extractors: rows of plain data, and their builders."""
