"""Runnable upstream services that ship with Gatehouse: a backtest engine, orders, products and users.

They know nothing of the gateway: they import none of its packages, and work the same when called directly.
"""
