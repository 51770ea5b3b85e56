// Nothing can be shown yet, as there is no file or no answer: look again until something can be, ever more seldom where
// the server has no answer.
const PAUSE_MS = 1_000;
const PAUSE_MAX_MS = 10_000;
let pause = PAUSE_MS;

async function lookAgain() {
  const response = await fetch(location.href).catch(() => null);
  if (response?.ok && (await response.text()).includes('id="bar"')) {
    location.reload();
    return;
  }
  pause = response?.ok ? PAUSE_MS : Math.min(PAUSE_MAX_MS, 2 * pause);
  setTimeout(lookAgain, pause);
}

setTimeout(lookAgain, pause);
