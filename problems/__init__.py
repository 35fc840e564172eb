"""What a search problem is, and the problems that ship."""
