"""Which images a person should look at next, and a page to look at them."""
