"""Other people's packages behind one interface each, so that benchmarks compare with them where they are installed."""
