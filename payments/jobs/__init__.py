"""What the queue does for payments."""

from payments.jobs.asking import ConfirmJob, ExpiryWarningJob, GiveUpJob, PollJob
from payments.jobs.authorize import AuthorizeJob, CompleteJob
from payments.jobs.holds import CaptureCheckJob, CaptureJob, VoidJob
from payments.jobs.incoming import VerifyIncomingJob, VerifyLateJob
from payments.jobs.refunds import RefundCheckJob, RefundJob

ALL = (
    AuthorizeJob,
    CaptureCheckJob,
    CaptureJob,
    CompleteJob,
    ConfirmJob,
    ExpiryWarningJob,
    GiveUpJob,
    PollJob,
    RefundCheckJob,
    RefundJob,
    VerifyIncomingJob,
    VerifyLateJob,
    VoidJob,
)
