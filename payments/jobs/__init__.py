"""What the queue does for payments."""

from payments.jobs.asking import ConfirmJob, ExpiryWarningJob, GiveUpJob, PollJob
from payments.jobs.authorize import AuthorizeJob, CompleteJob
from payments.jobs.holds import CaptureCheckJob, CaptureJob, VoidJob
from payments.jobs.incoming import VerifyIncomingJob, VerifyLateJob
from payments.jobs.receipts import ReceiptEmailJob
from payments.jobs.reconcile import ReconcileAskJob, ReconcileCloseJob, ReconcilePageJob
from payments.jobs.refunds import RefundCheckJob, RefundJob
from payments.jobs.setup import CompleteSetupJob, ForgetMethodJob, SetupJob, SetupPollJob

ALL = (
    AuthorizeJob,
    CaptureCheckJob,
    CaptureJob,
    CompleteJob,
    CompleteSetupJob,
    ConfirmJob,
    ExpiryWarningJob,
    ForgetMethodJob,
    GiveUpJob,
    PollJob,
    ReconcileAskJob,
    ReconcileCloseJob,
    ReconcilePageJob,
    ReceiptEmailJob,
    RefundCheckJob,
    RefundJob,
    SetupJob,
    SetupPollJob,
    VerifyIncomingJob,
    VerifyLateJob,
    VoidJob,
)
