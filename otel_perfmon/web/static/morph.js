// Makes one element like another and touches only what differs, so that focus, scrolling and selection stay.

/** Make `old` like `fresh`. Children with an id are known by it, the others by their place. */
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) {
      old.nodeValue = fresh.nodeValue;
    }
  } else if (!old.isEqualNode(fresh)) {
    morphAttributes(old, fresh);
    const isOwned = old.hasAttribute("data-part") || old.hasAttribute("data-kept"); // what it shows is a part's
    if (!isOwned || old.hasAttribute("data-morph")) {
      morphChildren(old, fresh);
    }
  }
}

function morphAttributes(old, fresh) {
  for (const {name} of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !old.hasAttribute(`data-keep-${name}`)) {
      old.removeAttribute(name);
    }
  }
  for (const {name, value} of fresh.attributes) {
    if (old.getAttribute(name) !== value) {
      old.setAttribute(name, value);
    }
  }
  if (old instanceof HTMLInputElement && old !== document.activeElement && old.value !== fresh.value) {
    old.value = fresh.value; // what is being typed stays
  }
}

function morphChildren(old, fresh) {
  const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = wanted.id ? byId.get(wanted.id) : undefined;
    if (known && known.nodeName === wanted.nodeName) {
      if (known !== place) {
        move(old, known, place);
      }
      place = known.nextSibling;
      morph(known, wanted);
    } else if (place && !place.id && !wanted.id && place.nodeName === wanted.nodeName) {
      const next = place.nextSibling;
      morph(place, wanted);
      place = next;
    } else {
      old.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Put a child before another, where it keeps the focus if the browser can do that. */
function move(parent, child, place) {
  if (parent.moveBefore) {
    parent.moveBefore(child, place);
    return;
  }
  const focused = child.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(child, place);
  focused?.focus({preventScroll: true});
}
