"""`andon notify`: halts and resumes straight to Alertmanager."""

import click

from consumers.notify.config import NotifyConfig
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.web.serving import MetricsConfig, serve

STAGE = "notify"


@click.command("notify")
@configured(("kafka", KafkaConfig), ("trust", TrustConfig), ("notify", NotifyConfig), ("metrics", MetricsConfig))
def command(kafka: KafkaConfig, trust: TrustConfig, notify: NotifyConfig, metrics: MetricsConfig) -> None:
    """Tell Alertmanager of every halt, of halts that wait for a person, and of resumes.

    An alert fires as long as a halt stands. Its labels never change: it is one alert from the halt to the resume.
    """
    # Here, not above: whoever asks for help does not wait for what only a stage needs.
    from consumers.notify.notifier import Notifier
    from consumers.rollout import Source
    from consumers.rollout.settings import trusted_keys
    from pipeline.runtime import logging
    from pipeline.runtime.lifecycle import StopSignal, leave

    notifier = Notifier(Source(kafka, trusted_keys(trust), notify.fleet_names()), notify)
    log = logging.configure(STAGE)
    serve(metrics, notifier.health())
    stop = StopSignal().install()
    if not notifier.urls:  # which was said to be meant
        log.info("no Alertmanager is named: nobody is told of halts", key="notify.alertmanager_urls")
    log.info("starting", alertmanagers=notifier.urls, fleets=notify.fleet_names() or "every one")
    notifier.run(stop)
    log.info("stopped")
    leave(0)
