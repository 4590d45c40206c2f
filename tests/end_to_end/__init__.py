"""A real gateway process between a raw client and an upstream that records every byte."""
