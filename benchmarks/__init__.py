"""What Toyvisor's parts cost, as ratios to a bare Unicorn script timed in the same run."""
