# syntax=docker/dockerfile:1
# Two stages: the first has pip, the second only what runs. Build: docker build -t locktender .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/locktender
COPY requirements/run.txt requirements/run.txt
RUN /opt/locktender/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/run.txt
COPY requirements/build.txt requirements/build.txt
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/build.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY bot bot
COPY commands commands
COPY storage storage
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/locktender/bin/pip install --no-cache-dir --no-deps /dist/*.whl \
 && /opt/locktender/bin/pip uninstall -y pip

FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends git openssh-client tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/locktender locktender \
 && install -d -o locktender -g locktender -m 0700 /var/lib/locktender
COPY --from=build /opt/locktender /opt/locktender
ENV PATH=/opt/locktender/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOCKTENDER_HOME=/var/lib/locktender \
    LOCKTENDER_HOST=0.0.0.0
USER 10001:10001
# The one folder it writes, beside /tmp: mount both when the root file system is read-only.
VOLUME /var/lib/locktender
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/healthz', timeout=2)"]
ENTRYPOINT ["tini", "--", "locktender"]
CMD ["serve"]
