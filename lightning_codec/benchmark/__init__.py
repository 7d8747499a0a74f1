"""Speed and memory, measured side by side in one run: ratios that anyone can repeat."""
