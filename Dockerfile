# The credits payouts service:
#   docker build -t credits-payout .
#   docker run --rm -p 8080:8080 --env-file .env -v $(pwd)/data:/app/data credits-payout
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends make git \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 payouts
WORKDIR /app
COPY . .
RUN make setup
ENV HOST=0.0.0.0 PORT=8080 DB_PATH=/app/data/app.db PATH=/app/.venv/bin:$PATH
VOLUME /app/data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["tools/docker-entrypoint.sh"]
CMD ["workbench", "payouts"]
