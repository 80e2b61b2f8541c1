"""`python -m stir_ray.cli`, where no `stir-ray` is on the path."""

from stir_ray.cli import main

main()
