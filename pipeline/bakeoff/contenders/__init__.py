"""The rules that ship today and the textbook's, each behind the same small protocol."""
