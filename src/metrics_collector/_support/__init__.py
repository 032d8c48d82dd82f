"""What every other part may use: settings, environment, threads and forks, rate-limited log lines."""
