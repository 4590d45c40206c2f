"""A small backtest engine: a moving-average crossover over a generated price series, run and streamed live.

The pure part (market, crossover, portfolio, performance, simulation) is driven by the engine, which alone
knows about time and tasks; the endpoints and streams translate to HTTP and WebSocket.
"""
