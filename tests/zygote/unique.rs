//! Children of one zygote draw different numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{fresh_and_forked, index, instance, members};
use crate::tests;

tests!(no_two_children_draw_the_same);

const CHILDREN: usize = 1000;
/// Number of children that are invoked at once.
const THREADS: usize = 4;

/// Draws from every generator before its zygote sleeps.
const SEEDED: &str = "
import multiprocessing, os, random, ssl, tempfile, uuid
import numpy

class Own(random.Random):
    pass

python = random.Random()
own = Own()
numpy_generator = numpy.random.default_rng()
numpy_state = numpy.random.RandomState()
numpy_philox = numpy.random.Generator(numpy.random.Philox())
seeded = random.Random(7), numpy.random.default_rng(7), numpy.random.RandomState(7)

def draw():
    name = next(tempfile._get_candidate_names())
    first = uuid.uuid1()
    return {
        'random': random.random(),
        'random.Random': python.random(),
        'a subclass of it': own.random(),
        'random.SystemRandom': random.SystemRandom().random(),
        'numpy.random': numpy.random.random(),
        'numpy.random.default_rng': numpy_generator.random(),
        'numpy.random.RandomState': numpy_state.random_sample(),
        'numpy.random.Philox': numpy_philox.random(),
        'ssl.RAND_bytes': ssl.RAND_bytes(16).hex(),
        'os.urandom': os.urandom(16).hex(),
        'uuid1': str(first),
        'uuid4': str(uuid.uuid4()),
        'tempfile': name,
        'authkey': bytes(multiprocessing.current_process().authkey).hex(),
        'clock sequence of uuid1 and time': [first.clock_seq, first.time],
        'seeded': [seeded[0].random(), seeded[1].random(), seeded[2].random_sample()],
        'hash': hash('text'),
    }

draw()
";

/// Draws that are the same in all children.
const CONSTANT: [&str; 2] = ["hash", "seeded"];

fn no_two_children_draw_the_same() {
    let index = index(&["numpy"], &[("seeding", SEEDED)]);
    let instance = instance(&index, Some("zygote,ssd"), None);
    instance.ok(&["env", "add", "random", "seeding", "numpy"]);
    let code = "import seeding\ndef handler(event): return seeding.draw()\n";
    instance.deploy("draw", code, &["--env", "random", "--sandboxes", "8"]);
    let (_, first) = fresh_and_forked(&instance, "draw", &json!({}));
    let ask = || {
        let answer = instance.invoke("draw", &json!({}));
        assert_eq!(answer["tier"], "zygote", "{answer}");
        members(&answer["result"])
    };
    let mut drawn: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |draws: BTreeMap<String, Value>| {
        for (source, value) in draws {
            drawn.entry(source).or_default().insert(value.to_string());
        }
    };
    note(members(&first));
    std::thread::scope(|scope| {
        let (ask, each) = (&ask, (CHILDREN - 1).div_ceil(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(move || (0..each).map(|_| ask()).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).for_each(&mut note);
    });
    let children = 1 + (CHILDREN - 1).div_ceil(THREADS) * THREADS;
    for (source, values) in drawn {
        let expected = if CONSTANT.contains(&source.as_str()) { 1 } else { children };
        assert_eq!(values.len(), expected, "{source}");
    }
}
