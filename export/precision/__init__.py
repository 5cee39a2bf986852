"""Conversions to float16 and int8."""
