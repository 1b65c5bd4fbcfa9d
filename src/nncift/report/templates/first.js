"use strict";
// The charts bring styles of their own; the policy lets only those through that carry the page's nonce.
{
  const nonce = document.currentScript.dataset.nonce;
  const make = document.createElement.bind(document);
  document.createElement = (name, options) => {
    const element = make(name, options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
}
