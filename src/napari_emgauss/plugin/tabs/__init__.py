"""The dock: its tabs, their forms, and the session behind them."""
