from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "integrations.messaging"
    label = "messaging"
    verbose_name = "Messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from integrations.messaging.closing import CloseJob
        from integrations.messaging.finding import FINDERS, FindJob
        from integrations.messaging.jobs.admin_notices import AdminNoticeJob, AdminNoticeMailJob
        from integrations.messaging.jobs.balances import BalanceJob
        from integrations.messaging.jobs.expanding import ExpandJob
        from integrations.messaging.jobs.fallback import GoOnJob, ReceiptsJob
        from integrations.messaging.jobs.notices import NotifyJob
        from integrations.messaging.jobs.pushing import PushSendJob
        from integrations.messaging.jobs.recurring import RecurJob
        from integrations.messaging.jobs.releasing import ReleaseJob
        from integrations.messaging.jobs.sending import SendJob
        from integrations.messaging.jobs.topics import TopicJob
        from integrations.messaging.models import Channel
        from integrations.runtime import jobs

        for channel in Channel:
            jobs.register(PushSendJob() if channel is Channel.PUSH else SendJob(channel))
        for name in FINDERS:
            jobs.register(FindJob(Channel(name)))
        jobs.register(CloseJob())
        jobs.register(GoOnJob())
        jobs.register(ReceiptsJob())
        jobs.register(NotifyJob())
        jobs.register(AdminNoticeJob())
        jobs.register(AdminNoticeMailJob())
        jobs.register(RecurJob())
        jobs.register(BalanceJob())
        jobs.register(ReleaseJob())
        jobs.register(TopicJob())
        jobs.register(ExpandJob())
