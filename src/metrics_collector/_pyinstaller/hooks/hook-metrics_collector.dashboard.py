"""The dashboard."""

from PyInstaller.utils.hooks import collect_data_files

datas = [
    *collect_data_files("metrics_collector.dashboard"),
    # Of plotly the one file that browsers load; the package itself is never imported.
    *collect_data_files("plotly", includes=["package_data/plotly.min.js"]),
]
