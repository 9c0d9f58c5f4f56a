"""The processor: Unicorn, and the world switch over it. Nobody else touches Unicorn."""
