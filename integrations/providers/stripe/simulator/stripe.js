/* In the place of https://js.stripe.com/v3/ at the simulator: the same calls, test cards instead of a card form. */
(function () {
  "use strict";
  const CARDS = __CARDS__;
  const API = __API__;
  window.Stripe = function (publishableKey, options) {
    const account = (options || {}).stripeAccount;
    let chosen = "pm_card_visa";
    async function call(path, fields) {
      const body = new URLSearchParams({ key: publishableKey, ...fields });
      const headers = account ? { "Stripe-Account": account } : {};
      const answer = await fetch(API + path, { method: "POST", body, headers });
      return answer.json();
    }
    function confirm(kind) {
      return async function ({ elements, clientSecret, confirmParams }) {
        const secret = clientSecret || elements.clientSecret;
        const id = secret.split("_secret_")[0];
        const fields = { client_secret: secret, payment_method: chosen, return_url: confirmParams.return_url };
        const found = await call("/v1/" + kind + "s/" + id + "/confirm", fields);
        if (found.error) return { error: found.error };
        const action = found.next_action && found.next_action.redirect_to_url;
        const back = new URL(confirmParams.return_url);
        back.searchParams.set(kind, id);
        back.searchParams.set(kind + "_client_secret", secret);
        back.searchParams.set("redirect_status", "succeeded");
        window.location.assign(action ? action.url : back.href);
        return new Promise(function () {});
      };
    }
    function element() {
      return {
        mount: function (where) {
          const label = document.createElement("label");
          label.textContent = "Test card";
          label.style.cssText = "display:block;font-weight:600";
          const select = document.createElement("select");
          select.name = "test-card";
          select.style.cssText =
            "display:block;width:100%;margin-top:.35rem;padding:.75rem;border:1px solid #c3cad2;border-radius:10px;" +
            "background:#fff;color:inherit;font:inherit;font-weight:400;text-overflow:ellipsis";
          CARDS.forEach(function (card) { select.add(new Option(card.text, card.token)); });
          select.addEventListener("change", function () { chosen = select.value; });
          label.append(select);
          const note = document.createElement("p");
          note.textContent = "Simulated card form: no real card, no real money.";
          note.style.cssText = "margin:.5rem 0 0;color:#56606c;font-size:.85rem";
          (typeof where === "string" ? document.querySelector(where) : where).replaceChildren(label, note);
        },
        on: function () {},
      };
    }
    return {
      elements: function (given) { return { clientSecret: (given || {}).clientSecret, create: element }; },
      confirmPayment: confirm("payment_intent"),
      confirmSetup: confirm("setup_intent"),
    };
  };
})();
