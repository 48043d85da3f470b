"""A sender as a process of its own, to be killed."""

import time
from multiprocessing.connection import Connection

from otn_dagster.config import Settings
from otn_dagster.tracker.configuration import MailSettings
from otn_dagster.tracker.mail.sending import send_due


def send_for_ever(settings: Settings, port: int, ready: Connection) -> None:
    mail = MailSettings(mode="live", smtp_port=port, most_a_day=100_000)
    ready.send("ready")
    while True:
        send_due(settings, mail)
        time.sleep(0.02)
