"""Plans, runs, failures and costs of the jobs of a lake, and what in it is damaged or unused."""
