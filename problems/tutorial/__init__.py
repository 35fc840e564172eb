"""Small problems for learning and for tests."""
