# worker and scheduler: the plain install      (target runtime)
# the example service: with a web server       (target example)

FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install .

FROM build AS build-example
RUN pip install starlette uvicorn httpx

FROM python:3.12-slim AS runtime
# The database's folder belongs to the user, and a named volume takes that over when it is made.
RUN useradd --uid 10001 --create-home metrics \
 && install --directory --owner=metrics --group=metrics /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 DATABASE_NAME=/data/metrics.db
WORKDIR /data
COPY --from=build /venv /venv
USER metrics

CMD ["taskiq", "worker", "metrics_collector.tasks:broker", "--workers", "1"]

FROM runtime AS example
COPY --from=build-example /venv /venv
COPY examples /app/examples
EXPOSE 8000
CMD ["uvicorn", "--app-dir", "/app/examples", "asgi_service:app", "--host", "0.0.0.0", "--port", "8000"]
