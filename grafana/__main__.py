"""`make grafana`: write the dashboards to grafana/generated."""

from grafana.catalogue import PLACE, files

if __name__ == "__main__":
    for name, text in files().items():
        (PLACE / name).write_text(text, "utf-8")
