import "./theme.ts";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/parts.css";
import "./styles/pages.css";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/client.ts";
import { me, queryClient } from "./api/queries.ts";
import { router } from "./router.tsx";
import { Toasts } from "./ui/toast.tsx";

// A session that ended while the page was open: to the sign-in, and back to the same place after it.
queryClient.getQueryCache().subscribe(({ query, type }) => {
  const { error } = query.state;
  if (type !== "updated" || !(error instanceof ApiError && error.status === 401)) return;
  if (queryClient.getQueryData(me.queryKey) === undefined) return;
  queryClient.removeQueries(me);
  void router.navigate({ to: "/login", search: { redirect: router.state.location.href } });
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <Toasts>
          <RouterProvider router={router} />
        </Toasts>
      </QueryClientProvider>
    </StrictMode>,
  );
}
