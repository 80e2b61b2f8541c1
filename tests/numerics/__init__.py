"""The laws of the mathematics, against slow oracles and other people's packages."""
