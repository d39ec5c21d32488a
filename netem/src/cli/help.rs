//! What `--help` says of the languages that netem reads.

pub(super) const WORDS: &str = "\
Words, as tc netem has them, in any order:
  delay TIME [JITTER [CORRELATION]]  distribution uniform|normal|pareto
  quantiles 0%=-2ms,50%=0ms,90%=6ms,100%=40ms   unordered
  loss PERCENT [CORRELATION]         loss burst MEAN_LOSS MEAN_BURST
  loss gemodel P [R [1-H [1-K]]]     loss trace ..x.xx
  duplicate PERCENT                  corrupt PERCENT
  reorder PERCENT [gap N]            rate RATE [OVERHEAD]
  queue SIZE     limit PACKETS       max-packet SIZE
The first word may be a preset (netem presets): wifi-bad loss 5%
Times in s ms us ns, rates in kbit mbit gbit, sizes in k m or bytes.";

pub(super) const FILE: &str = "\
A topology file:
  seed = 42                     # everything random follows from it
  matrix = \"aws\"              # distances between regions (netem regions)
  default = \"delay 1ms\"       # what nothing else names
  [[host]]
  name = \"a\"
  region = \"eu-west-1\"        # else its name
  address = \"127.0.0.1:7001\"  # proxy: where its program is
  front = \"127.0.0.1:9001\"    # proxy: where the others send to
  [[path]]
  between = [\"a\", \"b\"]      # or from = \"a\" and to = \"b\"
  netem = \"delay 40ms loss 1%\"
  [[path.change]]
  at = \"10s\"
  down = \"2s\"                 # or set, or ramp and over, or flap";
