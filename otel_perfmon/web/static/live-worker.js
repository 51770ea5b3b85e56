// One connection for all tabs: what the server tells is told to each of them.
const ports = new Set();
let latest = null;
let isAway = false;

const source = new EventSource("/events");
source.addEventListener("pulse", ({data}) => {
  isAway = false;
  latest = JSON.parse(data);
  tell({pulse: latest});
});
source.addEventListener("error", () => {
  isAway = true;
  tell({isAway});
});

function tell(message) {
  for (const port of ports) {
    port.postMessage(message);
  }
}

addEventListener("connect", ({ports: [port]}) => {
  ports.add(port);
  port.start();
  port.postMessage(isAway ? {isAway} : {pulse: latest});
});
