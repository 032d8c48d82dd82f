"""`python -m metrics_collector`, the same as `metrics-collector`."""

from metrics_collector.cli import main

if __name__ == "__main__":
    main()
