"""Where things are."""
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
SYSTEM = ROOT / "Tests" / "System"
PROTO = ROOT / "Proto" / "scada.proto"
ORIGINAL_PROTO = SYSTEM / "protos" / "scada_original.proto"
BINARIES = pathlib.Path(os.environ.get("SCADA_BINARY_DIR") or ROOT / ".build" / "debug")
DAEMON = BINARIES / "scada-ingestion"
SIMULATOR = BINARIES / "scada-simulator"

sys.path.insert(0, str(ROOT / "scripts" / "lib"))
