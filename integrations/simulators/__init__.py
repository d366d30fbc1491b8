"""Local fakes of provider APIs: real HTTP servers on loopback, stateful, with faults, that call back as the provider does.

State is one SQLite file per state folder and survives a `kill -9`. Nothing here imports Django.
"""

from integrations.simulators.clock import Clock, ManualClock, SystemClock
from integrations.simulators.kit import Part, Simulator, action, control, on_reply, route
from integrations.simulators.scheduler import Scheduler
from integrations.simulators.seeds import default_state_dir, derived, once
from integrations.simulators.server import PortTaken, StateInUse, running_simulators, serve
from integrations.simulators.store import Store
from integrations.simulators.wire import (
    CallbackReply,
    CustomerForm,
    DemoAccount,
    FormField,
    Magic,
    Mail,
    Notice,
    Prompt,
    Refusal,
    SimReply,
    SimRequest,
)

__all__ = [
    "CallbackReply",
    "Clock",
    "CustomerForm",
    "DemoAccount",
    "FormField",
    "Magic",
    "Mail",
    "ManualClock",
    "Notice",
    "Part",
    "PortTaken",
    "Prompt",
    "Refusal",
    "Scheduler",
    "SimReply",
    "SimRequest",
    "Simulator",
    "StateInUse",
    "Store",
    "SystemClock",
    "action",
    "control",
    "default_state_dir",
    "derived",
    "on_reply",
    "once",
    "route",
    "running_simulators",
    "serve",
]
