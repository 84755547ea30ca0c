from tests.end_to_end.conftest import place as place
from tests.upstream.fixture import upstreams as upstreams
