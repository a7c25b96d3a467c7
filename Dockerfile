# One image for every process: `worker`, `learner`, `publish`, … are commands of `eddy`.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/demo.lock requirements/
RUN python -m venv /opt/eddy && /opt/eddy/bin/pip install --no-cache-dir --require-hashes -r requirements/demo.lock
COPY pyproject.toml README.md CHANGELOG.md ./
# stream/agents and stream/tables are symlinks to the two folders beside it.
COPY stream stream
COPY agents agents
COPY tables tables
RUN /opt/eddy/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home eddy
COPY --from=build /opt/eddy /opt/eddy
# Everything a container keeps lies in /data; it listens for Prometheus and for the page on all of its own addresses.
ENV PATH=/opt/eddy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    EDDY_DATA_DIR=/data \
    EDDY_METRICS_HOST=0.0.0.0
WORKDIR /data
VOLUME /data
USER eddy
EXPOSE 8600 8601
ENTRYPOINT ["eddy"]
CMD ["--help"]
