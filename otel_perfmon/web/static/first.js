// There is no file yet: look again until there is one.
const PAUSE_MS = 1_000;

setInterval(async () => {
  const response = await fetch(location.href).catch(() => null);
  if (response?.ok && (await response.text()).includes('id="bar"')) {
    location.reload();
  }
}, PAUSE_MS);
