"""Other people's packages behind one face each, so that benchmarks compare with them where they are installed."""
