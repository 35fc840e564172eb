"""How far an answer may be trusted: what limits are worth, what moves it, how sure it stays the best."""
