"""A whole run as one HTML page: to click through, without anything installed."""
